//! The picture of what stood in the committed state before an epoch and does not after.

use kms_core::{
    certificate::{
        body::{Body, Scope},
        proofs::{State, States, TenantProof},
    },
    event::{EpochCommit, Event},
};

use super::{
    html::{Html, html},
    path::{brief, shortened},
};
use crate::words::count;

const WIDTH: usize = 680;
/// Of the picture with slots of versions, and of the one without.
const HEIGHTS: [usize; 2] = [216, 146];
const PANEL: usize = 306;
/// Squares that stand for slots.
const SLOTS: usize = 9;

/// The figure: for the first epoch; the others are like it.
pub(super) fn figure(body: &Body) -> Html {
    let mut figure = Html::default();
    let (Some(states), Some(epoch)) = (body.proofs.states.first(), body.erasure.epochs.first()) else {
        return figure;
    };
    let entry = body.proofs.entries.iter().find(|carried| carried.index == epoch.commit);
    let Some(Event::EpochCommit(commit)) = entry.map(|carried| &carried.entry.event) else { return figure };
    let height = HEIGHTS[usize::from(body.kind == Scope::Tenant)];
    html!(figure; "<figure>\n<svg viewBox=\"0 0 " (WIDTH) " " (height) "\" role=\"img\" aria-label=\"Present before the epoch, absent after\">\n");
    panel(&mut figure, body, (states, commit), true);
    panel(&mut figure, body, (states, commit), false);
    html!(figure; "<line x1=\"316\" y1=\"104\" x2=\"358\" y2=\"104\" stroke=\"#1c1c1c\" stroke-width=\"2\"/>"
        "<path d=\"M358 98 L370 104 L358 110 Z\" fill=\"#1c1c1c\"/>\n"
        "<text x=\"342\" y=\"90\" font-size=\"10\" text-anchor=\"middle\">epoch " (epoch.epoch) "</text>\n"
        "<text x=\"342\" y=\"126\" font-size=\"9\" text-anchor=\"middle\">entry " (epoch.commit) "</text>\n</svg>\n"
        "<figcaption><b>It stood there before, and its place is empty after.</b> Both states are single hashes over all keys of the key centre, written into entry "
        (epoch.commit) " of the log; the certificate carries the hashes that lead from the place in question to each. ");
    if let Some(more) = body.erasure.epochs.len().checked_sub(1).filter(|more| *more > 0) {
        html!(figure; "The same was checked for " (count(more as u64, "more epoch")) ". ");
    }
    html!(figure; "<b>Not shown by this:</b> that the state which the key centre committed to is the one that it serves, and that nobody kept a copy.</figcaption>\n</figure>\n");
    figure
}

fn panel(out: &mut Html, body: &Body, (states, commit): (&States, &EpochCommit), before: bool) {
    let x = if before { 2 } else { WIDTH - PANEL - 2 };
    let (state, root, when) = match before {
        true => (&states.before, &commit.state_root_before, "before"),
        false => (&states.after, &commit.state_root, "after"),
    };
    let middle = x + PANEL / 2;
    html!(out; "<rect x=\"" (x) "\" y=\"1\" width=\"" (PANEL) "\" height=\"46\" fill=\"#eef2f7\" stroke=\"#2f4f7a\" stroke-width=\"1.4\"/>\n"
        "<text x=\"" (middle) "\" y=\"19\" font-size=\"11.5\" font-weight=\"bold\" text-anchor=\"middle\">State of all keys " (when) "</text>\n"
        "<text x=\"" (middle) "\" y=\"36\" font-size=\"10\" text-anchor=\"middle\">" (brief(root)) " · " (count(state.live, "live version")) "</text>\n"
        "<line x1=\"" (middle) "\" y1=\"47\" x2=\"" (middle) "\" y2=\"80\" stroke=\"#1c1c1c\"/>\n");
    let gone = matches!(state.tenant, TenantProof::Empty);
    let name = format!("tenant {}", shortened(body.subject.tenant.as_str(), 34));
    place(out, (x + 30, 80), (PANEL - 60, 34), if gone { Place::Empty } else { Place::Full });
    let tenant = if gone { format!("slot {}: empty", body.subject.tenant_slot) } else { name };
    html!(out; "<text x=\"" (middle) "\" y=\"101\" font-size=\"10.5\" text-anchor=\"middle\">" (tenant) "</text>\n");
    if !gone && body.kind != Scope::Tenant {
        versions(out, body, (states, state), (x, before));
    }
    let said = match (before, body.kind) {
        (true, Scope::Tenant) => "it stands here with all its keys",
        (true, _) => "it stands here",
        (false, _) => "its place is empty",
    };
    html!(out; "<text x=\"" (middle) "\" y=\"" (HEIGHTS[usize::from(body.kind == Scope::Tenant)] - 8) "\" font-size=\"10.5\" font-weight=\"bold\" text-anchor=\"middle\">" (said) "</text>\n");
}

/// Slots of the tenant's tree, the destroyed one in the middle.
fn versions(out: &mut Html, body: &Body, (states, _): (&States, &State), (x, before): (usize, bool)) {
    let own = body.versions().iter().filter(|version| version.epoch == states.epoch);
    let slots: Vec<String> = own.map(|version| version.slot.to_string()).collect();
    let middle = x + PANEL / 2;
    for at in 0..SLOTS {
        let left = middle + at * 30 - SLOTS * 15 + 3;
        let ours = at == SLOTS / 2;
        let look = match (ours, before) {
            (true, true) => Place::Ours,
            (true, false) => Place::Empty,
            (false, _) => Place::Other,
        };
        html!(out; "<line x1=\"" (middle) "\" y1=\"114\" x2=\"" (left + 12) "\" y2=\"142\" stroke=\"" (if ours { "#1c1c1c" } else { "#bbb" }) "\"/>\n");
        place(out, (left, 142), (24, 24), look);
    }
    let named = match slots.as_slice() {
        [one] => format!("slot {one}"),
        several => shortened(&format!("slots {}", several.join(", ")), 50),
    };
    html!(out; "<text x=\"" (middle) "\" y=\"184\" font-size=\"10\" text-anchor=\"middle\">" (named) "</text>\n");
}

#[derive(Clone, Copy)]
enum Place {
    /// Another's; only its hash is known.
    Other,
    /// What was destroyed.
    Ours,
    Full,
    Empty,
}

fn place(out: &mut Html, (x, y): (usize, usize), (width, height): (usize, usize), look: Place) {
    html!(out; "<rect x=\"" (x) "\" y=\"" (y) "\" width=\"" (width) "\" height=\"" (height) "\" ");
    out.markup(match look {
        Place::Other => "fill=\"#e4e4df\" stroke=\"#aaa\"/>\n",
        Place::Ours => "fill=\"#1c1c1c\" stroke=\"#1c1c1c\"/>\n",
        Place::Full => "fill=\"#fff\" stroke=\"#1c1c1c\"/>\n",
        Place::Empty => "fill=\"#fff\" stroke=\"#a11212\" stroke-width=\"1.6\" stroke-dasharray=\"5 3\"/>\n",
    });
}
