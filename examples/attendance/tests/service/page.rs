//! The page, in a real browser: what a person does there, and sees.

use std::{env, fs, path::Path};

use kms_tests::Browser;
use serde_json::{Value, json};

use crate::running::Running;

/// The texts of a view's cells, row by row.
fn rows(browser: &mut Browser, view: &str) -> Value {
    browser.value(&format!(
        "[...document.querySelectorAll('[data-view={view}] tbody tr')].map(tr => [...tr.cells].map(td => td.textContent))"
    ))
}

/// What a column of a view shows.
fn column(browser: &mut Browser, view: &str, at: usize) -> Vec<String> {
    let rows = rows(browser, view);
    rows.as_array().unwrap().iter().map(|row| row[at].as_str().unwrap().to_owned()).collect()
}

/// Waits until the page shows what came of something, and that is so.
fn wait_until(browser: &mut Browser, expression: &str) {
    browser.wait_until(&format!("document.body.ariaBusy !== 'true' && {expression}"));
}

fn wait_for_words(browser: &mut Browser, words: &str) {
    wait_until(browser, &format!("document.querySelector('#said').textContent.includes({words:?})"));
}

/// Fills the form in and sends it off, by keyboard alone.
fn check_in(browser: &mut Browser, employee: &str, name: &str, phone: &str) {
    browser.value("document.querySelector('#company').focus()");
    for text in [employee, name, phone, "31.2304", "121.4737"] {
        browser.press("Tab");
        browser.type_over(text);
    }
    browser.press("Enter");
}

/// Chooses in a list. What a browser unfolds for it is not part of the page, and not to be clicked at.
fn choose(browser: &mut Browser, list: &str, value: &str) {
    browser.value(&format!(
        "(list => {{ list.value = {value:?}; list.dispatchEvent(new Event('change')); }})(document.querySelector('#{list}'))"
    ));
}

/// Pictures of the page, for whoever wants to look at it: into the directory that `KMS_PICTURES` names.
fn pictures(browser: &mut Browser, of: &str) {
    let Some(directory) = env::var_os("KMS_PICTURES") else { return };
    for (name, width, height, dark) in
        [("wide", 1400, 900, false), ("dark", 1400, 900, true), ("narrow", 380, 800, false)]
    {
        browser.show_as(width, height, dark);
        browser.picture(&Path::new(&directory).join(format!("{of}-{name}.png")));
    }
    browser.show_as(1400, 900, false);
}

#[test]
fn four_people_look_one_of_them_goes_and_the_page_shows_it() {
    let Some(mut browser) = Browser::start() else { return };
    let service = Running::start(&[]);
    browser.show_as(1400, 900, false);
    browser.open(&service.url("/"));
    wait_until(
        &mut browser,
        "document.querySelector('#standing').textContent === 'Nobody has checked in yet.'",
    );
    let enabled = "[...document.querySelectorAll('#endings button')].filter(b => !b.disabled).map(b => b.id)";
    assert_eq!(browser.value(enabled), json!(["erase-company"]));

    // Two check in. A name is text, whatever it looks like.
    let markup = "<img src=x onerror=alert(1)>";
    check_in(&mut browser, "e-17", "Lin Xiaoyu", "138 0013 8000");
    wait_for_words(&mut browser, "e-17 is checked in");
    check_in(&mut browser, "e-23", markup, "+49 30 23125 758");
    wait_for_words(&mut browser, "e-23 is checked in");
    assert_eq!(column(&mut browser, "employee", 1), [markup]);
    assert_eq!(browser.value("document.querySelectorAll('img').length"), 0);
    assert_eq!(column(&mut browser, "hr", 2), ["L**", "**"]);
    assert_eq!(column(&mut browser, "hr", 3)[0], "138****8000");
    let refused = browser.value("document.querySelector('[data-view=admin] .refused').textContent");
    assert!(refused.as_str().unwrap().contains("policy does not let you"), "{refused}");
    let raw = rows(&mut browser, "thief").to_string();
    assert!(raw.contains("e-17") && !raw.contains("Xiaoyu") && !raw.contains("0013 8000"), "{raw}");
    let hex = column(&mut browser, "thief", 2);
    assert!(hex.iter().all(|cell| cell.starts_with("4b01") && cell.len() > 2 * 74), "{hex:?}");

    // HR finds one row by its full number.
    browser.click("#search input");
    browser.type_over("+49-30-23125758");
    browser.press("Enter");
    wait_until(&mut browser, "document.querySelector('#found').textContent === 'One row, marked below.'");
    let marked =
        "[...document.querySelectorAll('[data-view=hr] tr.found')].map(tr => tr.cells[1].textContent)";
    assert_eq!(browser.value(marked), json!(["e-23"]));
    pictures(&mut browser, "two");
    let too_wide = "[document.documentElement, ...document.querySelectorAll('.rows')].filter(e => e.scrollWidth > e.clientWidth).length";
    for (width, dark) in [(1400, false), (1400, true), (700, false), (380, false)] {
        browser.show_as(width, 900, dark);
        assert_eq!(browser.value(too_wide), 0, "nothing scrolls sideways at {width}");
    }
    browser.show_as(1400, 900, false);
    assert_eq!(browser.complaints(), Vec::<String>::new());

    // A mistake is told in words, and the form keeps what was typed.
    check_in(&mut browser, "e-17", "Lin Xiaoyu", "1234");
    wait_for_words(&mut browser, "a phone number has 5 to 15 digits");
    assert_eq!(browser.value("document.querySelector('#checkin').elements.phone.value"), "1234");
    // The browser's own console names the answer's status, and nothing else is wrong.
    let complaints = browser.complaints();
    assert!(complaints.len() == 1 && complaints[0].contains("422"), "{complaints:?}");

    // The employee leaves, and then the key goes.
    choose(&mut browser, "employee", "e-17");
    wait_until(&mut browser, "document.querySelector('#standing').textContent === 'e-17 works here.'");
    assert_eq!(column(&mut browser, "employee", 1), ["Lin Xiaoyu"]);
    browser.click("#leave");
    wait_for_words(&mut browser, "The rights of e-17 have ended.");
    let refused = browser.value("document.querySelector('[data-view=employee] .refused').textContent");
    assert_eq!(refused, "the employee has left");
    assert_eq!(column(&mut browser, "hr", 2), ["L**", "**"]);

    // Somebody who presses Enter has not destroyed anything.
    browser.click("#erase");
    browser.wait_until("document.querySelector('#sure').open");
    browser.press("Enter");
    wait_until(&mut browser, "!document.querySelector('#sure').open");
    assert_eq!(column(&mut browser, "hr", 2), ["L**", "**"]);
    browser.click("#erase");
    browser.wait_until("document.querySelector('#sure').open");
    browser.click("#sure button.grave");
    wait_for_words(&mut browser, "The key of e-17 is destroyed.");
    assert_eq!(column(&mut browser, "hr", 2), ["erased", "**"]);
    assert_eq!(column(&mut browser, "hr", 3)[0], "erased");
    let why = browser.value("document.querySelector('[data-view=hr] td.dead').title");
    assert!(why.as_str().unwrap().contains("is destroyed; nothing opens what it sealed"), "{why}");
    assert_eq!(column(&mut browser, "thief", 4)[0], "", "the index value is cleared");
    pictures(&mut browser, "erased");

    browser.click("#said a");
    let certificate = browser.downloaded();
    assert_eq!(certificate.file_name().unwrap(), "certificate-e-17.json");
    let certificate: Value = serde_json::from_slice(&fs::read(certificate).unwrap()).unwrap();
    assert!(certificate.is_object());

    // The company goes, the other one stays.
    browser.click("#erase-company");
    browser.wait_until("document.querySelector('#sure').open");
    browser.click("#sure button.grave");
    wait_for_words(&mut browser, "The key of acme is destroyed.");
    assert_eq!(column(&mut browser, "hr", 2), ["erased", "erased"]);
    choose(&mut browser, "company", "globex");
    wait_until(&mut browser, "document.querySelectorAll('tbody tr').length === 0");
    check_in(&mut browser, "e-31", "Ксения Примерная", "+7 000 000-90-30");
    wait_for_words(&mut browser, "e-31 is checked in");
    assert_eq!(column(&mut browser, "employee", 1), ["Ксения Примерная"]);
    assert_eq!(browser.complaints(), Vec::<String>::new());

    // Gone, the service is told about in words.
    drop(service);
    browser.click("#search button");
    wait_for_words(&mut browser, "The service does not answer; is it running?");
}
