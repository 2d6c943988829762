/**
 * Something that had the focus is gone, as a button whose work is done: reading goes on at the heading of what it was in,
 * instead of at the top of the page. Who has left it before is left alone. Returns what ends it.
 */
export function keepPlace(area: HTMLElement): () => void {
  /** What has the focus, and all that it is in, from the inside out. */
  let path: readonly HTMLElement[] = []
  const enter = ({ target }: FocusEvent) => {
    const element = target as HTMLElement
    // A dialog gives the focus back to where it was opened from; that may be gone by then.
    if (!element.closest('dialog')) path = pathOf(element, area)
  }
  const leave = ({ target, relatedTarget }: FocusEvent) => {
    if (relatedTarget !== null) return
    // Browsers say this of what they take off the page too: a moment later it is known which it was.
    queueMicrotask(() => {
      if (path[0] === target && path[0]?.isConnected) path = []
    })
  }
  const changes = new MutationObserver(() => {
    const [gone, ...around] = path
    if (!gone || gone.isConnected || document.activeElement !== document.body) return
    path = []
    headingOf(around)?.focus({ preventScroll: true })
  })
  area.addEventListener('focusin', enter)
  area.addEventListener('focusout', leave)
  changes.observe(area, { childList: true, subtree: true })
  return () => {
    area.removeEventListener('focusin', enter)
    area.removeEventListener('focusout', leave)
    changes.disconnect()
  }
}

function pathOf(from: HTMLElement, area: HTMLElement): readonly HTMLElement[] {
  const path = [from]
  for (let at = from; at !== area && at.parentElement; at = at.parentElement) path.push(at.parentElement)
  return path
}

/** Of the innermost that is still there and has one. */
function headingOf(around: readonly HTMLElement[]): HTMLElement | undefined {
  for (const each of around) {
    const heading = each.isConnected ? each.querySelector<HTMLElement>('h1, h2, h3') : null
    if (!heading) continue
    heading.tabIndex = -1
    return heading
  }
  return undefined
}
