//! Where repositories are published: the same suite over a directory and over a real S3 server.

#[allow(dead_code, reason = "the bench of the workspace's tests, of which these need a part")]
#[path = "../workspace/support.rs"]
mod bench;
mod careless;
mod conformance;
mod crash;
mod disk;
mod publish;
mod race;
mod seaweed;
mod server;
mod support;
