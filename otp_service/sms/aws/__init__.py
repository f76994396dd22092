"""Shared by the two AWS providers: request signatures and SNS notifications."""
