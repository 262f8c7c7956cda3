#!/bin/bash
# server.sh start DIR SMTP_PORT IMAP_PORT | stop DIR: a real mail server, Postfix and Dovecot, of its own in DIR.
#
# Postfix listens on SMTP_PORT of the loopback address, with STARTTLS and AUTH demanded, and takes mail
# for every address of *.example; Dovecot stores it and shows it by IMAP on IMAP_PORT. Every user's
# password is "secret". DIR/ca.pem has signed the server's certificate. Both need root to begin with.
set -euo pipefail
action=$1
dir=$2

stop()
{
	local pid
	for pid in "$dir/queue/pid/master.pid" "$dir/dovecot/master.pid"; do
		[ -s "$pid" ] || continue
		pid=$(tr -d ' ' < "$pid")
		kill "$pid" 2>/dev/null || continue
		for _ in $(seq 100); do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.1
		done
		kill -9 "$pid" 2>/dev/null || true
	done
}

certificates()
{
	openssl req -x509 -newkey rsa:2048 -nodes -keyout "$dir/ca.key" -out "$dir/ca.pem" -days 2 \
		-subj "/CN=test authority" 2>/dev/null
	openssl req -newkey rsa:2048 -nodes -keyout "$dir/mail.key" -out "$dir/mail.csr" -subj "/CN=localhost" 2>/dev/null
	openssl x509 -req -in "$dir/mail.csr" -CA "$dir/ca.pem" -CAkey "$dir/ca.key" -CAcreateserial -days 2 \
		-extfile <(echo "subjectAltName=DNS:localhost,IP:127.0.0.1") -out "$dir/mail.pem" 2>/dev/null
	chmod 644 "$dir/ca.pem" "$dir/mail.pem"
}

configure_postfix()
{
	local port=$1
	mkdir -p "$dir/postfix" "$dir/queue" "$dir/data"
	chown postfix "$dir/data"
	cat > "$dir/postfix/main.cf" <<-END
		compatibility_level = 3.6
		queue_directory = $dir/queue
		data_directory = $dir/data
		command_directory = /usr/sbin
		daemon_directory = /usr/lib/postfix/sbin
		mail_owner = postfix
		setgid_group = postdrop
		maillog_file = $dir/mail.log
		maillog_file_prefixes = $dir
		inet_interfaces = 127.0.0.1
		inet_protocols = ipv4
		myhostname = mail.example
		mydestination =
		local_transport = error:no local users
		virtual_mailbox_domains = regexp:$dir/postfix/domains
		virtual_transport = lmtp:unix:$dir/dovecot/lmtp
		smtputf8_enable = yes
		smtpd_tls_cert_file = $dir/mail.pem
		smtpd_tls_key_file = $dir/mail.key
		smtpd_tls_security_level = encrypt
		smtpd_sasl_auth_enable = yes
		smtpd_sasl_type = dovecot
		smtpd_sasl_path = $dir/dovecot/auth
		smtpd_tls_auth_only = yes
		smtpd_relay_restrictions = permit_sasl_authenticated, reject
		smtpd_recipient_restrictions = reject_non_fqdn_recipient, permit_sasl_authenticated, reject
		message_size_limit = 10000000
	END
	echo '/example$/ OK' > "$dir/postfix/domains"
	cat > "$dir/postfix/master.cf" <<-END
		127.0.0.1:$port inet n - n - - smtpd
		pickup unix n - n 60 1 pickup
		cleanup unix n - n - 0 cleanup
		qmgr unix n - n 300 1 qmgr
		tlsmgr unix - - n 1000? 1 tlsmgr
		rewrite unix - - n - - trivial-rewrite
		bounce unix - - n - 0 bounce
		defer unix - - n - 0 bounce
		trace unix - - n - 0 bounce
		verify unix - - n - 1 verify
		flush unix n - n 1000? 0 flush
		proxymap unix - - n - - proxymap
		proxywrite unix - - n - 1 proxymap
		smtp unix - - n - - smtp
		relay unix - - n - - smtp
		showq unix n - n - - showq
		error unix - - n - - error
		retry unix - - n - - error
		discard unix - - n - - discard
		virtual unix - n n - - virtual
		lmtp unix - - n - - lmtp
		anvil unix - - n - 1 anvil
		scache unix - - n - 1 scache
		postlog unix-dgram n - n - 1 postlogd
	END
}

configure_dovecot()
{
	local port=$1
	mkdir -p "$dir/dovecot" "$dir/mail"
	chown nobody:nogroup "$dir/mail"
	cat > "$dir/dovecot.conf" <<-END
		base_dir = $dir/dovecot
		log_path = $dir/dovecot.log
		listen = 127.0.0.1
		protocols = imap lmtp
		ssl = no
		disable_plaintext_auth = no
		auth_mechanisms = plain login
		first_valid_uid = 1
		mail_location = maildir:$dir/mail/%u
		mail_uid = nobody
		mail_gid = nogroup
		passdb {
		  driver = static
		  args = password=secret
		}
		userdb {
		  driver = static
		  args = uid=nobody gid=nogroup home=$dir/mail/%u allow_all_users=yes
		}
		service imap-login {
		  inet_listener imap {
		    port = $port
		  }
		  inet_listener imaps {
		    port = 0
		  }
		}
		service auth {
		  unix_listener auth {
		    mode = 0666
		  }
		}
		service lmtp {
		  unix_listener lmtp {
		    mode = 0666
		  }
		}
		service stats {
		  unix_listener stats-writer {
		    mode = 0666
		  }
		}
	END
}

if [ "$action" = start ]; then
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd -P)
	chmod 755 "$dir"
	certificates
	configure_postfix "$3"
	configure_dovecot "$4"
	/usr/sbin/dovecot -c "$dir/dovecot.conf"
	/usr/sbin/postfix -c "$dir/postfix" start 2>/dev/null
else
	stop
fi
