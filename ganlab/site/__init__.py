"""A static web site: sliders that run in the browser, and all pages of the results."""
