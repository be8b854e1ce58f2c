import '../test/search/main.ts'
