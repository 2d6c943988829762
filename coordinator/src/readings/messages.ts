import type { ReadingsMessage } from '@understudy/shared/protocol/readings'

/** Of UTF-16: in the quotes of a part, and as UTF-8, at most 16 KB, so that nothing waits long behind one message. */
const PART = 5000

/** A message as it goes over the socket: whole, or in parts of its text. */
export function messagesOf(text: string): readonly string[] {
  if (text.length <= PART) return [text]
  const messages: string[] = []
  for (let at = 0; at < text.length; at += PART) {
    const part: ReadingsMessage = {
      type: 'part',
      text: text.slice(at, at + PART),
      more: at + PART < text.length,
    }
    messages.push(JSON.stringify(part))
  }
  return messages
}
