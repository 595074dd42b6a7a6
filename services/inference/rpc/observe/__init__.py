"""Who looks at requests: traces and the access log. Where nobody does, a request pays one comparison."""
