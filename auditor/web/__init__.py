"""What people look at in a browser, and what scripts ask for over HTTP."""
