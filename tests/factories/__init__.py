"""What tests share: records, zoos, models, services and receivers, made on request."""
