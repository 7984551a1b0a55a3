"""A Run as one HTML file: parts first, then the page that shows them."""
