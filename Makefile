# make only forwards: Meson builds (meson.build), tools/ci.sh tests.
.PHONY: run build setup check asan tsan fuzz lint format install clean

run: build
	@exec build/madang serve $(ARGS)
build: setup
	@tools/build.sh build --buildtype=release
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
clean:
	rm -rf build build-*
