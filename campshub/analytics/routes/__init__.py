"""The endpoints of analytics."""

from campshub.analytics.routes.alerts import alerts, at_risk
from campshub.analytics.routes.figures import figures

blueprints = (figures, at_risk, alerts)
