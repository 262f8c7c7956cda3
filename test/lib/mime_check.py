#!/usr/bin/env python3
"""Builds mails from nasty parts by marketing_internal.mime() and reads them back: the raw bytes are
looked at, then Python's email package parses them and must find no defect and the parts as given.
Arguments are handed to psql."""
import base64, email, email.policy, json, random, re, subprocess, sys
E='\U0001F600'
base=dict(from_address='hello@shop.example',to_address='ada@example.com',message_id='abc.1@shop.example',date=1790000000,subject='Hi',text='Hello')
cases=[]
def c(**k): d=dict(base); d.update(k); d={a:b for a,b in d.items() if b is not None}; cases.append(d)
c()
c(subject='Ünï'+'ç'*300)
c(subject='wörd '*60)
c(subject=E*50, from_name='Mağaza '+E, to_name='Ayşe "Q" \\ Öz')
c(subject='a'*300); c(subject='a b '*80); c(subject='  lead  and   runs  '); c(subject='=?utf-8?q?x?='); c(subject=''); c(subject='tab\there'); c(subject='line\u2028sep\u0085x')
c(subject='word '*300)
c(from_name='A, "B" <x@y.z>', to_name='comma, name; (paren)')
c(from_name='n'*200,to_name='ü'*200)
c(text='.\n..\n.dot\nFrom me\n-- \ntrailing   \n\ttab\t\n', html='<p>.\n.</p>')
c(text='', html='<p>x</p>'); c(text='',html=None); c(text=None,html=''); c(text='x',html='')
c(text='a'*5000, html='<b>'+'é'*5000+'</b>')
c(text='ünïcode '*500); c(text=E*3000); c(text='mixed é '+'ascii '*400)
c(text='a\rb\r\nc\nd\n\n\n'); c(text='no newline at end'); c(text='\n\n')
c(html='<html><body class="x">hi</body></html>', preheader='Pre & <head> é')
c(unsubscribe_url='https://m.shop.example/u?t='+'x'*600, unsubscribe_mailto='u@shop.example', html='<p>x</p>')
c(unsubscribe_url='http://localhost/u'); c(unsubscribe_mailto='u@shop.example')
c(headers={'X-Campaign':'bf26','List-Id':'<offers.shop.example>','Feedback-ID':'a:b:c:d','X-U':'ünï '*60,'Precedence':'bulk','X-Long':'z'*900})
c(text='--=_boundary\n--', html='=3D =_ x'); c(text='\x01\x02 ctrl \x7f')
c(text='x'*75+' \n'+'y'*76+'\n'+'z'*77)
files=[dict(filename='logo.png',type='image/png',shown=1,content=bytes(range(256))),dict(filename='Rechnung März '+'ü'*60+'.pdf',type='application/pdf',content=b'%PDF'*500),dict(filename='a b.txt',type='text/plain',content=b''),dict(filename='x"y;z.txt',type='text/plain',content=b'\r\n.\r\nFrom me\n')]
img='<p><img src="cid:logo.png"> cid:logo.pngx</p>'
c(html=img,attachments=files); c(html=img,attachments=files[:1]); c(attachments=files[1:]); c(html=img,text='',attachments=files); c(html=img,text=None,attachments=files[:1])
c(to_address='ada@Bücher.example'); c(to_address='ada@'+E+'.example'); c(to_address='ada@пример.example'); c(to_address='ada@例え.テスト'); c(to_address='ada@faß.example'); c(to_address='jürgen@bücher.example'); c(to_address='i@i'+chr(0x308)+'.example')
wire={'ada@Bücher.example':'ada@xn--bcher-kva.example','ada@'+E+'.example':'ada@xn--e28h.example','ada@пример.example':'ada@xn--e1afmkfd.example','ada@例え.テスト':'ada@xn--r8jz45g.xn--zckzah','ada@faß.example':'ada@xn--fa-hia.example','jürgen@bücher.example':'jürgen@xn--bcher-kva.example','i@i'+chr(0x308)+'.example':'i@xn--gda.example'}
def psql(d):
    d=dict(d)
    if 'attachments' in d: d['attachments']=[dict(f,content=base64.b64encode(f['content']).decode()) for f in d['attachments']]
    p=subprocess.run(['psql','-X','-q','-At']+sys.argv[1:]+['-c','select encode(convert_to(marketing_internal.mime($q$'+json.dumps(d,ensure_ascii=True).replace('$q$','')+'$q$),\'UTF8\'),\'hex\')'],capture_output=True,text=True)
    if p.returncode: raise Exception(p.stderr)
    return bytes.fromhex(p.stdout.strip())
def clean(s): return re.sub('[\x00-\x1f\x7f-\x9f\u2028\u2029]',' ',s)
def norm(s):
    s=s.replace('\r\n','\n').replace('\r','\n'); return s.rstrip('\n')
bad=0
def check(d):
    global bad
    raw=psql(d)
    errs=[]
    if re.search(rb'(?<!\r)\n|\r(?!\n)',raw): errs.append('bare CR/LF')
    if any(len(l)>998 for l in raw.split(b'\r\n')): errs.append('long line')
    head=raw.split(b'\r\n\r\n')[0]
    d=dict(d,to_address=wire.get(d['to_address'],d['to_address']))
    smtputf8=max(d['to_address'])>'\x7f'
    if max(raw)>127 and not smtputf8: errs.append('8bit')
    if re.search(rb'\r\n[ \t]*\r\n',head+b'\r\n'): errs.append('blank header line')
    body=raw.split(b'\r\n\r\n',1)[1]
    if any(l.startswith(b'.') or l.startswith(b'From ') for l in body.split(b'\r\n')): errs.append('dot/From line')
    m=email.message_from_bytes(raw,policy=email.policy.default)
    if smtputf8: m=email.message_from_string(raw.decode(),policy=email.policy.SMTPUTF8)
    for p in m.walk():
        if p.defects: errs.append(('defects',p.defects))
        for h,v in p.items():
            if [x for x in getattr(v,'defects',()) if not (smtputf8 and type(x).__name__=='NonASCIILocalPartDefect')]: errs.append((h,v.defects))
    def eq(a,b,w):
        if a!=b: errs.append((w,a[:80],b[:80]))
    eq(str(m['subject']),clean(d['subject']),'subject')
    eq(m['from'].addresses[0].addr_spec,d['from_address'],'from'); eq(m['to'].addresses[0].addr_spec,d['to_address'],'to')
    if len(m['to'].addresses)!=1 or len(m['from'].addresses)!=1: errs.append('n addresses')
    # That package leaves the blanks between the encoded words of a name, which RFC 2047 takes away, and
    # makes one blank of several: names are compared without blanks.
    for who in ('from','to'):
        got_name=m[who].addresses[0].display_name; want=clean(d.get(who+'_name',''))
        eq(got_name.replace(' ',''),want.replace(' ',''),who+'_name')
    parts=[p for p in m.walk() if not p.is_multipart()]
    got={p.get_content_type():p.get_content() for p in parts if not p.get_filename()}
    found=[(p.get_filename(),p.get_content_type(),p.get_payload(decode=True)) for p in parts if p.get_filename()]
    given=[(f['filename'],f['type'],f['content']) for f in sorted(d.get('attachments',[]),key=lambda f:not f.get('shown'))]
    eq(found,given,'files')
    cids=[p['content-id'] for p in parts if p['content-id']]
    if any('cid:'+i[1:-1]+'"' not in got['text/html'] for i in cids) or len(cids)!=len([f for f in d.get('attachments',[]) if f.get('shown')]): errs.append('cid')
    if 'html' in d and not d.get('preheader') and not cids: eq(norm(got.get('text/html','MISSING')),norm(d['html']),'html')
    if d.get('preheader'):
        if 'Pre &amp; &lt;head&gt; é' not in got['text/html']: errs.append('preheader')
    if d.get('text') or 'html' not in d: eq(norm(got.get('text/plain','MISSING')),norm(d.get('text','')),'text')
    if 'unsubscribe_url' in d:
        if m['list-unsubscribe'].replace(' ','').split(',')[0]!='<'+d['unsubscribe_url']+'>': errs.append('unsub')
        if b'List-Unsubscribe: <'+d['unsubscribe_url'].encode()+b'>' not in head: errs.append('unsub not on one line')
        if d['unsubscribe_url'].startswith('https') != (m['list-unsubscribe-post']=='List-Unsubscribe=One-Click'): errs.append('post')
    for h,v in d.get('headers',{}).items(): eq(str(m[h]),v.rstrip() if h!='X-U' else v,h)
    for h in ('from','to','date','message-id','subject','mime-version'):
        if len(m.get_all(h))!=1: errs.append('count '+h)
    names={l.split(b':')[0].decode().lower() for l in head.split(b'\r\n') if l and l[0] not in b' \t'}
    allowed={'from','to','subject','date','message-id','list-unsubscribe','list-unsubscribe-post','mime-version','content-type','content-transfer-encoding'}|{h.lower() for h in d.get('headers',{})}
    if names-allowed: errs.append(('headers',names-allowed))
    if errs: bad+=1; print('FAIL',{k:(v[:60] if isinstance(v,str) else v) for k,v in d.items() if base.get(k)!=v},errs)
for d in cases: check(d)
# What must not get into a message at all.
refused=[dict(to_address=a) for a in ('a@b.example\r\nBcc: x@y.z','a b@c.example','<a@b.example>','a@b.example,c@d.example','@b.example','a@','a..b@c.example','a@-b.example','a@b..c','"a b"@c.example','a@[127.0.0.1]','a\x85@b.example','a\u2028b@b.example','a@b\u2028.example','é b@b.example','a@'+'b'*64+'.example','a'*65+'@b.example','a@b.example ','a\n@b.example')]
refused+=[dict(from_address='x@y.example\nTo: z@y.example'),dict(subject='a\r\nBcc: x@y.z'),dict(subject='a\nb'),dict(from_name='a\rb'),dict(reply_to='no'),dict(message_id='a@b>\r\nX: y'),dict(message_id='ab'),dict(message_id='a b@c'),dict(unsubscribe_url='https://x/\r\nX: y'),dict(unsubscribe_url='https://x/ y'),dict(unsubscribe_url='javascript:x'),dict(unsubscribe_url='https://x/>'),dict(unsubscribe_mailto='x'),dict(text=None),dict(headers={'Bcc':'x@y.z'}),dict(headers={'X:Y':'z'}),dict(headers={'X Y':'z'}),dict(headers={'X-A':'b\r\nBcc: c'}),dict(headers={'content-type':'text/html'}),dict(headers={'':'x'}),dict(headers={'Subject':'x'})]
for r in refused:
    d=dict(base); d.update(r); d={a:b for a,b in d.items() if b is not None}
    try:
        raw=psql(d)
        bad+=1; print('NOT REFUSED',r)
    except Exception as e:
        if 'the mail cannot be built' not in str(e): bad+=1; print('OTHER ERROR',r,e)
# Random texts, the same ones each time.
random.seed(1)
chars=['a','Z',' ','  ','=','?','=?','_','.','\\t','"','\\','(',')','<','>',',',';',':','@','é','ß','ü','漢','\U0001F600','\u2028','\x85','\x01','%','&','-','--']
for i in range(150):
    text=lambda n:''.join(random.choice(chars) for _ in range(random.randrange(n)))
    body=lambda n:''.join(random.choice(chars+['\n','\r\n','.\n','From ','word ']) for _ in range(random.randrange(n)))
    check(dict(base,subject=text(80),from_name=text(30),to_name=text(30),text=body(400),html=body(400)))
print(len(cases),'messages',len(refused),'refused',bad,'bad')
sys.exit(bad>0)
