//! The picture of the proof: from the entries over the log's tree to the head that is signed.

use std::ops::Range;

use kms_core::{
    certificate::{body::Body, words::moment},
    event::{Entry, Event},
};

use super::html::{Html, html};

/// Entries that are drawn; of more the first and last of each kind.
const DRAWN: usize = 6;
const WIDTH: usize = 680;
/// From one level of the tree to the next.
const STEP: usize = 44;
const TOP: usize = 74;

/// What of the tree leads to the drawn entries.
struct Node {
    /// Hashes between this and the node above: each stands for a part of the log in which nothing that is drawn lies.
    hashes: usize,
    kind: Kind,
}

enum Kind {
    Entry(u64),
    Fork(Box<[Node; 2]>),
}

impl Node {
    /// As the shared inclusion proof splits a log.
    fn of(mut range: Range<u64>, known: &[u64]) -> Option<Self> {
        let mut hashes = 0;
        loop {
            let width = range.end.checked_sub(range.start)?;
            if width <= 1 {
                return Some(Self { hashes, kind: Kind::Entry(*known.first()?) });
            }
            let middle = range.start + (1 << (width - 1).ilog2());
            match known.split_at(known.partition_point(|index| *index < middle)) {
                ([], _) => range.start = middle,
                (_, []) => range.end = middle,
                (low, high) => {
                    let below = [Self::of(range.start..middle, low)?, Self::of(middle..range.end, high)?];
                    return Some(Self { hashes, kind: Kind::Fork(Box::new(below)) });
                }
            }
            hashes += 1;
        }
    }

    fn depth(&self) -> usize {
        match &self.kind {
            Kind::Entry(_) => 0,
            Kind::Fork(below) => 1 + below.iter().map(Self::depth).max().unwrap_or_default(),
        }
    }
}

/// The figure.
pub(super) fn figure(body: &Body) -> Html {
    let (head, drawn) = (&body.proofs.checkpoint, drawn(body));
    let mut figure = Html::default();
    let Some(tree) = Node::of(0..head.size, &drawn) else { return figure };
    let bottom = TOP + STEP * (tree.depth() + 1);
    html!(figure; "<figure>\n<svg viewBox=\"0 0 " (WIDTH) " " (bottom + 78) "\" role=\"img\" aria-label=\"Proof path from the entries to the signed head of the log\">\n");
    signed_head(&mut figure, body);
    let mut drawing = Drawing { body, drawn: &drawn, bottom, out: &mut figure };
    let root = drawing.node(&tree, TOP + STEP);
    edge(&mut figure, (root, TOP + STEP), (WIDTH / 2, 58), tree.hashes);
    html!(figure; "</svg>\n<figcaption><b>The statements stand in the signed log.</b> Each entry below is hashed, and the hashes are hashed together up to the head of "
        "the log, which is signed. A square with a number stands for so many hashes that the certificate carries in place of the rest of the log; change one "
        "character in an entry, and another head comes out. ");
    let all = body.proofs.entries.len();
    if drawn.len() < all {
        html!(figure; "Drawn are " (drawn.len()) " of the " (all) " entries that the certificate carries. ");
    }
    html!(figure; "<b>Not shown by this:</b> that what the key centre says in its entries is true.</figcaption>\n</figure>\n");
    figure
}

/// Which entries are drawn, by rising index.
fn drawn(body: &Body) -> Vec<u64> {
    let (versions, epochs) = (body.versions(), &body.erasure.epochs);
    let ends = |all: &[u64]| all.first().into_iter().chain(all.last()).copied().collect::<Vec<_>>();
    let created: Vec<u64> = versions.iter().map(|version| version.created).collect();
    let destroyed: Vec<u64> = body.request.iter().map(|request| request.destroy).collect();
    let last = epochs.last();
    let commit = last.map(|epoch| epoch.commit);
    let effaced = last.and_then(|epoch| epoch.effacement.as_ref()).map(|done| done.effacement);
    let mut drawn: Vec<u64> =
        [ends(&created), ends(&destroyed)].concat().into_iter().chain(commit).chain(effaced).collect();
    drawn.sort_unstable();
    drawn.dedup();
    drawn.truncate(DRAWN);
    drawn
}

fn signed_head(out: &mut Html, body: &Body) {
    let head = &body.proofs.checkpoint;
    let signer = body.log.key.as_str().split('+').next().unwrap_or_default();
    let witnesses: Vec<&str> =
        head.cosignatures.iter().filter_map(|witness| witness.key.as_str().split('+').next()).collect();
    html!(out; "<rect x=\"100\" y=\"1\" width=\"480\" height=\"56\" fill=\"#eef2f7\" stroke=\"#2f4f7a\" stroke-width=\"1.6\"/>\n"
        "<text x=\"340\" y=\"18\" font-size=\"12\" font-weight=\"bold\" text-anchor=\"middle\">Signed head of the log: " (head.size) " entries</text>\n"
        "<text x=\"340\" y=\"33\" font-size=\"10\" text-anchor=\"middle\">root " (brief(&head.root)) " · signed with Ed25519 by " (signer) "</text>\n"
        "<text x=\"340\" y=\"48\" font-size=\"10\" text-anchor=\"middle\">");
    match witnesses.as_slice() {
        [] => out.markup("no independent witness signed it"),
        names => out.text(format!("cosigned by {}", shortened(&names.join(", "), 60))),
    }
    html!(out; "</text>\n");
}

struct Drawing<'a> {
    body: &'a Body,
    drawn: &'a [u64],
    bottom: usize,
    out: &'a mut Html,
}

impl Drawing<'_> {
    /// Draws a node and what is below; gives where it stands.
    fn node(&mut self, node: &Node, y: usize) -> usize {
        match &node.kind {
            Kind::Entry(index) => {
                let x = self.entry(*index);
                if y < self.bottom {
                    edge(self.out, (x, self.bottom), (x, y), 0);
                }
                dot(self.out, (x, y));
                x
            }
            Kind::Fork(below) => {
                let at: Vec<usize> = below.iter().map(|node| self.node(node, y + STEP)).collect();
                let x = at.iter().sum::<usize>() / at.len().max(1);
                for (child, from) in below.iter().zip(at) {
                    edge(self.out, (from, y + STEP), (x, y), child.hashes);
                }
                dot(self.out, (x, y));
                x
            }
        }
    }

    fn entry(&mut self, index: u64) -> usize {
        let (all, at) = (self.drawn.len().max(1), self.drawn.partition_point(|other| *other < index));
        let width = (WIDTH / all - 10).min(158);
        let x = WIDTH * (2 * at + 1) / (2 * all);
        let entry = self.body.proofs.entries.iter().find(|carried| carried.index == index);
        let (what, when) = entry.map(|carried| says(&carried.entry)).unwrap_or_default();
        let (left, y) = (x - width / 2, self.bottom);
        html!(self.out; "<rect x=\"" (left) "\" y=\"" (y) "\" width=\"" (width) "\" height=\"66\" fill=\"#fff\" stroke=\"#1c1c1c\"/>\n"
            "<text x=\"" (x) "\" y=\"" (y + 17) "\" font-size=\"10\" font-weight=\"bold\" text-anchor=\"middle\">" (what) "</text>\n"
            "<text x=\"" (x) "\" y=\"" (y + 32) "\" font-size=\"9\" text-anchor=\"middle\">entry " (index) "</text>\n");
        let (date, time) = when.split_at_checked(10).unwrap_or_default();
        html!(self.out; "<text x=\"" (x) "\" y=\"" (y + 45) "\" font-size=\"9\" text-anchor=\"middle\">" (date) "</text>\n"
            "<text x=\"" (x) "\" y=\"" (y + 57) "\" font-size=\"9\" text-anchor=\"middle\">" (time.trim()) "</text>\n");
        x
    }
}

fn says(entry: &Entry) -> (String, String) {
    let what = match &entry.event {
        Event::KeyCreate(event) => format!("version {} made", event.number),
        Event::KeyRotate(event) => format!("version {} made", event.number),
        Event::EpochCommit(event) => format!("epoch {} begun", event.epoch),
        Event::EpochEffaced(_) => "old secret effaced".to_owned(),
        _ => "destruction".to_owned(),
    };
    (what, moment(entry.at))
}

/// A line, and in its middle how many hashes stand for what is beside it.
fn edge(out: &mut Html, (x1, y1): (usize, usize), (x2, y2): (usize, usize), hashes: usize) {
    html!(out; "<line x1=\"" (x1) "\" y1=\"" (y1) "\" x2=\"" (x2) "\" y2=\"" (y2) "\" stroke=\"#1c1c1c\"/>\n");
    if hashes > 0 {
        let (x, y) = (usize::midpoint(x1, x2), usize::midpoint(y1, y2));
        html!(out; "<rect x=\"" (x.saturating_sub(9)) "\" y=\"" (y.saturating_sub(8)) "\" width=\"18\" height=\"16\" fill=\"#e4e4df\" stroke=\"#666\"/>\n"
            "<text x=\"" (x) "\" y=\"" (y + 4) "\" font-size=\"10\" text-anchor=\"middle\">" (hashes) "</text>\n");
    }
}

fn dot(out: &mut Html, (x, y): (usize, usize)) {
    html!(out; "<circle cx=\"" (x) "\" cy=\"" (y) "\" r=\"3.5\" fill=\"#2f4f7a\"/>\n");
}

/// The beginning of a hash.
pub(super) fn brief(hash: &[u8]) -> String {
    let text = hex::encode(hash);
    format!("{}…", text.get(..12).unwrap_or(&text))
}

/// At most so many characters.
pub(super) fn shortened(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drawn_tree_has_as_many_hashes_as_the_shared_proof() {
        use std::collections::BTreeSet;

        use kms_core::transparency::{Computed, MultiProof, Subtrees};
        struct Log;
        impl Subtrees for Log {
            fn subtree(&self, level: u32, _: u64) -> Option<[u8; 32]> {
                (level == 0).then_some([7; 32])
            }
        }
        fn count(node: &Node) -> usize {
            node.hashes
                + match &node.kind {
                    Kind::Entry(_) => 0,
                    Kind::Fork(below) => below.iter().map(count).sum(),
                }
        }
        for (size, known) in
            [(1, vec![0]), (2, vec![1]), (90, vec![4, 45, 46, 48]), (1000, vec![0, 999]), (7, vec![6])]
        {
            let indexes: BTreeSet<u64> = known.iter().copied().collect();
            let proof = MultiProof::prove(&Computed(Log), size, &indexes).unwrap();
            let tree = Node::of(0..size, &known).unwrap();
            assert_eq!(count(&tree), proof.hashes.len(), "{size} {known:?}");
        }
        assert!(Node::of(0..0, &[]).is_none() && Node::of(0..5, &[]).is_none());
    }
}
