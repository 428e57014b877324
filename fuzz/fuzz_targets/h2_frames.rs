//! Any bytes as what a client says over HTTP/2; what must hold is said in `lb_http::h2::oracle`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lb_http::h2::oracle::frames(data));
