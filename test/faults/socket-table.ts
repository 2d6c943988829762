/**
 * The inode of the socket that is bound to `port`, in a table of the kernel's (`/proc/net/tcp`). It is looked for in the text
 * as it is: after a minute of short connections the table has thousands of rows, and gates ask for each that is made.
 */
export function inodeIn(table: string, port: number): string | undefined {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, '0')} `
  for (let at = table.indexOf(wanted); at >= 0; at = table.indexOf(wanted, at + 1)) {
    const start = table.lastIndexOf('\n', at) + 1
    const end = table.indexOf('\n', at)
    const [, local = '', , , , , , , , inode] = table
      .slice(start, end < 0 ? undefined : end)
      .trim()
      .split(/\s+/)
    // A connection that has ended has no socket any more.
    if (`${local} `.endsWith(wanted) && inode !== undefined && inode !== '0') return inode
  }
  return undefined
}
