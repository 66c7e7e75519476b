"""How the page looks: one style sheet, held in the page, for light and dark screens."""

STYLE = """
:root { --paper: #fff; --card: #f6f6f7; --ink: #1b1b1f; --soft: #5f5f68; --line: #e2e2e6; --link: #1d4fb8; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #16161a; --card: #202026; --ink: #ececf0; --soft: #a3a3ad; --line: #34343c; --link: #8fb4ff; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 32px 24px 64px; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { margin: 0 0 8px; font-size: 30px; line-height: 1.2; }
h2 { margin: 0 0 4px; font-size: 21px; overflow-wrap: anywhere; }
p { margin: 0 0 8px; max-width: 72ch; }
a { color: var(--link); }
section { margin-top: 48px; border-top: 1px solid var(--line); padding-top: 24px; }
footer { margin-top: 48px; color: var(--soft); font-size: 14px; }
.facts, figcaption, .pair span { color: var(--soft); font-size: 14px; }
figcaption b { color: var(--ink); margin-right: 6px; }
.table { overflow-x: auto; margin-top: 20px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 6px 14px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { text-align: left; font-weight: 600; padding-left: 0; }
thead th, thead td { color: var(--soft); font-size: 14px; font-weight: 400; }
.overview th { font-size: 14px; line-height: 1.3; padding: 4px 14px 4px 0; white-space: normal; overflow-wrap: anywhere;
  min-width: 170px; }
.overview th span { display: block; color: var(--soft); font-weight: 400; }
.overview td { padding: 3px; border: 0; }
.overview th { border: 0; }
.overview img { display: block; width: 72px; border-radius: 3px; }
.photos { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(340px, 100%), 1fr)); gap: 20px;
  margin-top: 16px; align-items: start; }
figure { margin: 0; padding: 14px; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 10px; text-align: center; }
.pair img { display: block; width: 100%; border-radius: 4px; }
.tokens { display: block; width: 100%; margin: 8px 0; border-radius: 4px; }
.prefixes { display: grid; grid-auto-flow: column; grid-auto-columns: 1fr; gap: 4px; margin: 8px 0;
  text-align: center; }
.prefixes img { display: block; width: 100%; border-radius: 3px; }
.prefixes span { color: var(--soft); font-size: 12px; line-height: 1.4; display: block; }
.plot { max-width: min(820px, 100%); border-radius: 6px; }
summary { cursor: pointer; color: var(--link); }
"""
