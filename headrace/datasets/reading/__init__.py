"""What a set is made from: files, topics, queries over other sets; all as record batches of one schema."""
