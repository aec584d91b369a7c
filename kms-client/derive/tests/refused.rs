//! What `#[derive(Protect)]` refuses, and in what words.

#[test]
fn wrong_use_is_a_compile_error_that_says_what_to_write() {
    trybuild::TestCases::new().compile_fail("tests/refused/*.rs");
}
