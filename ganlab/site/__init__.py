"""The web page without a server's help: sliders that the browser draws itself, and every page of the results."""
