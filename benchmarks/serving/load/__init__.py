"""The load: prepared requests from one process or several, over raw HTTP/1.1 and raw HTTP/2, every answer checked.

A general client costs more than the servers that it measures. This one writes bytes made before, and parses of an
answer only what tells that it is right: the status, the length, and of one answer in a hundred the values.
"""
