"""The role `stream`: predicts every event of the topic, exactly once."""
