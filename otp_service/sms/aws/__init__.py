"""What the two AWS providers share: request signatures and SNS notifications."""
