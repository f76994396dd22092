"""SMPP 3.4, the client's half (ESME), as far as a message, its receipt and its reply need it.

`pdu`, `pdu_bodies`, `text_codec`, `user_data`, `delivery_receipts` and `inbound_messages` convert octets to
structs and back, without a socket. `message_ids` finds the message of a receipt, `message_parts` joins long
messages from phones, and `delivery_handler` passes both on. `connection` is one TCP connection, and
`session` binds again whenever it is lost.
"""
