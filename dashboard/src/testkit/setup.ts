/** jsdom knows `<dialog>` and does not open it. As in a browser: modal, closed by Escape, focus given back. */
HTMLDialogElement.prototype.showModal = function showModal() {
  const before = document.activeElement
  this.open = true
  this.addEventListener('close', () => before instanceof HTMLElement && before.focus(), { once: true })
}
HTMLDialogElement.prototype.close = function close() {
  if (!this.open) return
  this.open = false
  this.dispatchEvent(new Event('close'))
}
