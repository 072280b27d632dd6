//! Draws a small lab with one bird in it and ends the way it is told to: what the clean-up tests look at.
//! `lab-hold panic` panics at once, `lab-hold wait` waits to be killed. Either prints bird's process id first.

use l34_lab::{Bird, Lab};
use std::thread;

fn main() {
    let lab = Lab::new();
    let host = lab.host("held");
    lab.segment().attach(&host, "eth0", &["192.0.2.1/24"]);
    let bird = Bird::start(&lab, &host, "protocol device {}\n");
    println!("{}", bird.process().pid());
    if std::env::args().nth(1).as_deref() == Some("panic") {
        panic!("as told");
    }
    loop {
        thread::park();
    }
}
