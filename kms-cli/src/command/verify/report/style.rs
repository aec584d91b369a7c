//! How the page looks, on a screen and on A4. No font, picture or rule comes from elsewhere.

pub(super) const STYLE: &str = r#"
@page { size: A4; margin: 15mm 16mm 17mm;
  @bottom-left { content: "report of kms verify"; font: 7.5pt Arial, "Liberation Sans", sans-serif; color: #555; }
  @bottom-right { content: "page " counter(page) " of " counter(pages); font: 7.5pt Arial, "Liberation Sans", sans-serif; color: #555; } }
* { box-sizing: border-box; }
html { background: #e9e9e6; }
body { margin: 24px auto; max-width: 186mm; padding: 14mm 13mm; background: #fff; color: #1c1c1c;
  font: 10pt/1.38 Georgia, "Times New Roman", serif; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
h1 { font-size: 19pt; line-height: 1.15; margin: 0 0 3mm; font-weight: normal; }
h2 { font-size: 12.5pt; margin: 6.5mm 0 2mm; padding-bottom: 1mm; border-bottom: 0.6pt solid #1c1c1c; break-after: avoid; }
p { margin: 0 0 2.5mm; }
.eyebrow, th, figcaption, .small, dt, svg text, .verdict .word, footer, .tag {
  font-family: "Helvetica Neue", Arial, "Liberation Sans", sans-serif; }
.eyebrow { font-size: 8pt; letter-spacing: 0.08em; text-transform: uppercase; color: #555; margin: 0 0 1mm; }
.small, figcaption, footer { font-size: 8.5pt; line-height: 1.4; color: #3c3c3c; }
.mono { font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 8pt; overflow-wrap: anywhere; }
.verdict { border: 1.4pt solid; border-left-width: 6pt; padding: 3.5mm 5mm; margin: 0 0 4mm; break-inside: avoid; }
.verdict .word { font-size: 15pt; font-weight: bold; letter-spacing: 0.02em; margin: 0 0 1mm; }
.verdict p:last-child { margin: 0; }
.erased { border-color: #1d5c3b; } .erased .word { color: #1d5c3b; }
.residual { border-color: #8a5a00; } .residual .word { color: #7a4f00; }
.pending { border-color: #2f4f7a; } .pending .word { color: #2f4f7a; }
.invalid { border-color: #a11212; background: #fdf1f1; } .invalid .word { color: #a11212; }
dl { display: grid; grid-template-columns: 38mm 1fr; gap: 0.5mm 4mm; margin: 0; }
dt { font-size: 8.5pt; color: #555; padding-top: 0.4mm; } dd { margin: 0; overflow-wrap: anywhere; }
table { width: 100%; border-collapse: collapse; margin: 0 0 2mm; }
thead { display: table-header-group; }
th { font-size: 8pt; text-align: left; font-weight: bold; color: #444; padding: 1mm 2mm 1mm 0; border-bottom: 0.6pt solid #888; vertical-align: bottom; }
td { padding: 1.2mm 2mm 1.2mm 0; border-bottom: 0.4pt solid #ccc; vertical-align: top; overflow-wrap: anywhere; }
tr { break-inside: avoid; }
td.name { width: 37mm; font-family: "Helvetica Neue", Arial, "Liberation Sans", sans-serif; font-size: 8.5pt; font-weight: bold; }
td.mark { width: 18mm; white-space: nowrap; font-family: "Helvetica Neue", Arial, "Liberation Sans", sans-serif; font-size: 8.5pt; font-weight: bold; }
td.means { width: 46%; }
.code { font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; font-size: 0.82em; white-space: nowrap; }
body.not { border: 3pt solid #a11212; }
td.mark.no { color: #a11212; } td.mark.yes { color: #1d5c3b; }
.lists { display: grid; grid-template-columns: 1fr 1fr 1fr; gap: 3mm; }
.lists section { border: 0.8pt solid #555; padding: 2mm 2.6mm; font-size: 8.7pt; line-height: 1.32; }
.lists h3 { font: bold 10pt/1.25 "Helvetica Neue", Arial, "Liberation Sans", sans-serif; margin: 0 0 0.5mm; }
.lists .small { margin: 0 0 1.2mm; padding-bottom: 1mm; border-bottom: 0.4pt solid #999; min-height: 9.5mm; font-size: 8pt; }
.lists ul { margin: 0; padding-left: 3.6mm; } .lists li { margin: 0 0 1.1mm; overflow-wrap: anywhere; }
.tag { display: inline-block; font-size: 7.5pt; font-weight: normal; border: 0.5pt solid #555; padding: 0 1.2mm; color: #333; }
figure { margin: 0 0 5mm; break-inside: avoid; } figure svg { display: block; width: 100%; height: auto; }
.fill td { height: 9mm; }
footer { margin-top: 7mm; padding-top: 2mm; border-top: 0.6pt solid #1c1c1c; }
@media screen and (max-width: 640px) { .lists, dl { grid-template-columns: 1fr; } body { padding: 6mm; } }
@media print { html { background: none; } body { margin: 0; padding: 0; max-width: none; } body.not { padding: 6mm; } }
"#;
