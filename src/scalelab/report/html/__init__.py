"""Pages: drawings as HTML files that load nothing from elsewhere."""
