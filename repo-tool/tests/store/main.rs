//! Where repositories are published: the same suite over a directory and over a real S3 server.

mod careless;
mod conformance;
mod crash;
mod disk;
mod race;
mod seaweed;
mod server;
mod support;
