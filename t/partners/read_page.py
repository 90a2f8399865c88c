# What keeps a reader from the status page: reads HTML from standard input as a browser does, by html5lib,
# and prints one line for each fault: of the syntax, and of what keyboards, screen readers and eyes need.

import re
import sys

import html5lib

H = '{http://www.w3.org/1999/xhtml}'
text = sys.stdin.buffer.read().decode('utf-8')
parser = html5lib.HTMLParser()
root = parser.parse(text)
parents = {child: node for node in root.iter() for child in node}


def fault(what):
    print(what)


def all_of(*names):
    return [node for node in root.iter() if node.tag in [H + name for name in names]]


def words(node):
    return ' '.join(''.join(node.itertext()).split())


def within(node, name):
    while node is not None and node.tag != H + name:
        node = parents.get(node)
    return node


for (line, _), code, _ in parser.errors:
    fault(f'line {line}: {code}')

# ---- the document ----
if not root.get('lang'):
    fault('no language')
if not any(words(node) for node in all_of('title')):
    fault('no title')
for node in all_of('meta'):
    if node.get('name') == 'viewport' and re.search('user-scalable|maximum-scale', node.get('content', '')):
        fault('a page that cannot be enlarged')
if not any(node.get('name') == 'viewport' for node in all_of('meta')):
    fault('a page for wide screens only')
levels = [int(node.tag[-1]) for node in all_of('h1', 'h2', 'h3', 'h4')]
if levels[:1] != [1] or levels.count(1) != 1 or any(b > a + 1 for a, b in zip(levels, levels[1:])):
    fault(f'headings of levels {levels}')
for name in ('header', 'main', 'footer'):
    if len(all_of(name)) != 1:
        fault(f'{len(all_of(name))} elements {name}')

# ---- names and where they lead ----
ids = [node.get('id') for node in root.iter() if node.get('id')]
for name in sorted(set(ids)):
    if ids.count(name) > 1:
        fault(f'{ids.count(name)} elements have the id {name}')
for node in root.iter():
    for name in (node.get('aria-labelledby') or '').split():
        if name not in ids:
            fault(f'aria-labelledby leads to no {name}')
    if node.get('tabindex', '0').lstrip('-').isdigit() and int(node.get('tabindex', '0')) > 0:
        fault('the order of keys is not that of the page')
for node in all_of('a'):
    if node.get('href', '').startswith('#') and node.get('href')[1:] not in ids:
        fault(f'a link leads to no {node.get("href")}')
    if not words(node):
        fault('a link without a text')
first = [node for node in all_of('a', 'button', 'input', 'select', 'summary')][0]
if not first.get('href', '').startswith('#') or 'skip' not in words(first).lower():
    fault('the first stop of the keyboard skips nothing')

# ---- tables ----
for table in all_of('table'):
    heads = [node for node in table.iter(H + 'th') if within(node, 'thead') is not None]
    captions = [words(node) for node in table.iter(H + 'caption')]
    if not any(captions):
        fault('a table without a caption')
    for node in table.iter(H + 'th'):
        if node.get('scope') not in ('col', 'row'):
            fault(f'the heading "{words(node)}" has no scope')
    for row in table.iter(H + 'tr'):
        cells = [node for node in row if node.tag in (H + 'th', H + 'td')]
        if len(cells) != len(heads):
            fault(f'a row of {len(cells)} cells below {len(heads)} headings, in "{captions}"')
        for cell, head in zip(cells, heads):
            if within(cell, 'tbody') is not None and cell.get('data-label') != words(head).rstrip(' ▲▼'):
                fault(f'the cell "{cell.get("data-label")}" stands below "{words(head)}"')
    for node in table.iter():
        if node.tag in (H + 'th', H + 'td', H + 'tr', H + 'thead', H + 'tbody') and not node.get('role'):
            fault('a part of a table has no role, and none at all on a narrow screen')
sorts = [node for node in root.iter() if node.get('aria-sort')]
if 'connections' in ids and len(sorts) != 1:
    fault(f'{len(sorts)} columns are said to be sorted')

# ---- forms ----
labels = {node.get('for') for node in all_of('label')}
for node in all_of('input', 'select'):
    if node.get('type') != 'hidden' and node.get('id') not in labels and within(node, 'label') is None:
        fault(f'the field "{node.get("name")}" has no label')
for node in all_of('button'):
    if not words(node):
        fault('a button without a text')
for node in all_of('details'):
    if not len(node) or node[0].tag != H + 'summary' or not words(node[0]):
        fault('details without a summary')
for node in all_of('progress'):
    if not node.get('aria-label'):
        fault('a bar without a name')
for node in all_of('section'):
    if not node.get('aria-labelledby'):
        fault('a section without a name')

# ---- eyes: the contrast of WCAG 2, level AA, in both themes; and where the keyboard is ----
style = ''.join(words(node) for node in all_of('style'))


def luminance(colour):
    digits = colour if len(colour) == 6 else ''.join(2 * digit for digit in colour)
    parts = [int(digits[i:i + 2], 16) / 255 for i in (0, 2, 4)]
    parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


themes = [dict(re.findall(r'--(\w+):#([0-9a-f]+)', block)) for block in re.findall(r':root\{([^}]*)\}', style)]
if len(themes) != 2:
    fault(f'{len(themes)} themes instead of a light and a dark one')
for theme in themes:
    for paper in ('paper', 'band'):
        for ink in ('ink', 'dim', 'link', 'good', 'warn', 'bad'):
            light, dark = sorted((luminance(theme[paper]), luminance(theme[ink])), reverse=True)
            if (light + 0.05) / (dark + 0.05) < 4.5:
                fault(f'{ink} (#{theme[ink]}) is hard to read on {paper} (#{theme[paper]})')
for name in ('a', 'button', 'input', 'select', 'summary'):
    if not re.search(name + r':focus-visible[^{}]*\{outline:', style):
        fault(f'the keyboard is not seen when it is at {name}')
