"""The role `gateway`: one REST address for predicting, appending records, following predictions and the status."""
