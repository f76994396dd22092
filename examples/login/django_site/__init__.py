"""The login as a Django site: settings, URLs, views and one middleware."""
