"""Alerts: every one that there is, which of them are on, silences, webhooks, and Prometheus' and Grafana's files.

`definitions` is the one list; the roles `monitor` and `drift` raise what is in it by `raising`. `state` says which are
on, from headrace.alerts and headrace.silences; `webhooks` tells others; `prometheus` and `grafana` write files.
"""
