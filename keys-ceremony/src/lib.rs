//! What a key holder needs: keys, signing requests, review, signatures.
