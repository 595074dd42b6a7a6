"""The page: files that the gateway serves as they are. Everything on it comes from the gateway itself."""
