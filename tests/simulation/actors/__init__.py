"""Who calls the service, and what they try: everything is drawn from the seed."""
