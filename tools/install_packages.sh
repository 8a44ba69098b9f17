#!/bin/sh
# Installs the named packages on Debian or Ubuntu, as root or with a sudo that asks nothing, without starting a service
# that comes with one. Ends with status 3, and has done nothing, where that cannot be.
set -e
[ -x /usr/bin/apt-get ] || exit 3
if [ "$(id -u)" -ne 0 ]; then
    sudo -n true 2>/dev/null || exit 3
    exec sudo -n sh "$0" "$@"
fi
echo "installing $* with apt-get (once; may take a minute)" >&2
exec 2>&1
export DEBIAN_FRONTEND=noninteractive
# Debian's switch for starting no service; it goes away again. One that is there already is the administrator's.
if [ ! -e /usr/sbin/policy-rc.d ]; then
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    trap 'exit 1' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
fi
apt-get -q -o DPkg::Lock::Timeout=120 update
apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends "$@"
case " $* " in
*" rabbitmq-server "*) [ ! -d /run/systemd/system ] || systemctl disable --quiet rabbitmq-server || true ;;
esac
