"""The simulator of the brake on SMS pumping: it drives `otp_service.core.pumping` with its own clock."""
