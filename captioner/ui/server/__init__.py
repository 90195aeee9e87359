"""The web server around the page: options, access, routes, uploads and the API."""
