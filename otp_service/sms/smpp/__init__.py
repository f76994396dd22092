"""SMPP 3.4, the client's half (ESME), as far as one message and its receipt need it.

`pdu`, `pdu_bodies`, `text_codec` and `delivery_receipts` convert octets to structs and back, without
a socket. `message_ids` finds the message of a receipt. `connection` is one TCP connection, and
`session` binds again whenever it is lost.
"""
