# make only forwards: Meson builds (meson.build), tools/ci.sh tests.
# A compiler that we have not met may warn of more: only the tests' builds refuse that.
RELEASE = --buildtype=release -Db_lto=true -Dwerror=false

.PHONY: run build setup check asan tsan fuzz lint format install clean

run: build
	@exec build/madang serve $(ARGS)
build: setup
	@tools/build.sh build $(RELEASE)
setup:
	@tools/setup.sh
check:
	@tools/ci.sh
asan tsan fuzz lint: setup
	@tools/ci.sh $@
format:
	@find src include cmd examples tests fuzz ui -name '*.[ch]' | xargs clang-format-14 -i
install: build
	@meson install -C build --no-rebuild
	@[ -n "$(DESTDIR)" ] || ldconfig
clean:
	rm -rf build build-*
