"""SMPP 3.4, the client's half (ESME), as far as one message and its receipt need it.

pdu, bodies, texts, receipts: bytes to structs and back, without a socket. ids: which message a
receipt is about. link: one connection. session: a link that is kept bound.
"""
