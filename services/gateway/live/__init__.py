"""What the page shows while it changes: sections, each looked at once for all pages, on one stream for each page."""
