"""A bundle as a page that classifies in the browser: `cxr-edge web`."""
