"""Delivery from the outbox: signed webhooks, the notification system, and reports to reporting.

A subscriber is a webhook or the notification system. One worker at a time delivers (the lease
`delivery`); what it has done is written behind the fact, so after a crash some events are
delivered again, with the ids they had.
"""
