"""The operator's risk service: one HTTP call before a send.

    RiskQuery → build_body, sign_webhook → POST → parse_answer → RiskAssessment

`risk_settings` has the settings, `risk_exchange` the pure forms of request and answer, and `risk_client`
the call within its deadline. The transport is an argument: `app` passes one that shares no connection
with providers, so that a service that hangs delays no message of a tenant without a check.
"""

from otp_service.risk.risk_client import RiskClient
from otp_service.risk.risk_settings import RiskSettings


__all__ = ["RiskClient", "RiskSettings"]
