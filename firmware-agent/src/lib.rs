//! The device around [`tuffet_client`]: trust store, slots, boot hand-over, transport.
