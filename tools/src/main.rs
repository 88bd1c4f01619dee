//! The `shortlist` program: build, serve, query, bench, inspect and demo, one file a command.

#![allow(dead_code, unused_imports)] // until the commands that use these arrive

mod input;
mod progress;
mod table;

fn main() {}
