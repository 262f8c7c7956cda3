"""read_imap.py PORT USER COUNT: waits until the mailbox holds as many mails, and prints them as JSON: for each
the headers that matter, the parts' texts and the defects that Python's parser found."""
import email
import email.policy
import imaplib
import json
import sys
import time


def mails(port, user):
    box = imaplib.IMAP4("127.0.0.1", port)
    box.login(user, "secret")
    box.select()
    found = [box.fetch(n, "(RFC822)")[1][0][1] for n in box.search(None, "ALL")[1][0].split()]
    box.logout()
    return found


def described(octets):
    mail = email.message_from_bytes(octets, policy=email.policy.SMTP)
    parts = {p.get_content_type(): p.get_content() for p in mail.walk() if p.get_content_maintype() == "text"}
    return {
        "headers": {name.lower(): str(value) for name, value in mail.items()},
        "parts": parts,
        "defects": [str(d) for p in mail.walk() for d in p.defects],
        "longest_line": max(len(line) for line in octets.split(b"\r\n")),
        "bare_newlines": octets.replace(b"\r\n", b"").count(b"\n"),
    }


port, user, count = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for _ in range(600):
    found = mails(port, user)
    if len(found) >= count:
        break
    time.sleep(0.1)
print(json.dumps([described(one) for one in found]))
