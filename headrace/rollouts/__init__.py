"""Rollouts: what directives mean, what state each version is in, and what workers report.

Every reader of headrace.rollouts and headrace.applied goes by this package, and none decides for itself:

    directives   the kinds of directive, their keys on the compacted topic, and their order
    view         one model's rollout by its directives: what is active, staged or on canaries, who is to serve what
    reports      one model's workers as their reports tell it
    states       the state of a version and of a worker, in a word
    history      all of it over time, for `headrace ckpt` and for pages
    feed         every directive, oldest first and then live
    reading      the system topics once, or from a moment on
    operations   an operator's request, and how the fleet follows it
"""
