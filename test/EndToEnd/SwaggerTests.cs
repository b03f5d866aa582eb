using Microsoft.Playwright;
using OrleansCluster.EndToEnd.Harness;

namespace OrleansCluster.EndToEnd;

/// <summary>Swagger UI in a real browser: the documentation is complete and its "Try it out" works.</summary>
public sealed class SwaggerTests(DockerCluster fixture) : ClusterTests(fixture), IClassFixture<DockerCluster>
{
    private static readonly string[] Browsers = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

    // Headless on a machine without a graphics card, as root, and quiet: no updates, no start pages, no second transport.
    private static readonly string[] Flags =
    [
        "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync",
    ];

    [Fact]
    public async Task A_pod_created_with_try_it_out_runs()
    {
        const string Body = """
            {"apiVersion":"v1","kind":"Pod","metadata":{"name":"from-swagger","labels":{"app":"from-swagger"}},
             "spec":{"containers":[{"name":"main","image":"busybox:1.36","command":["sh","-c","trap 'exit 0' TERM; while :; do sleep 1 & wait $!; done"]}]}}
            """;
        using IPlaywright playwright = await Playwright.CreateAsync();
        await using IBrowser browser = await LaunchAsync(playwright);
        IPage page = await OpenAsync(browser);
        await AuthorizeAsync(page);

        ILocator create = await OperationAsync(page, "post", "/api/v1/namespaces/{namespace}/pods");
        await create.Locator(".try-out__btn").ClickAsync();
        await create.Locator("tr[data-param-name='namespace'] input").FillAsync("default");
        await create.Locator(".body-param textarea").FillAsync(Body);
        await create.Locator(".execute").ClickAsync();
        string answer = await create.Locator(".live-responses-table .response-col_status").First.InnerTextAsync();

        await Cluster.EventuallyPodsAsync("the pod runs", "-l app=from-swagger", pods => pods is [{ Serves: true }]);
        Assert.StartsWith("201", answer, StringComparison.Ordinal);

        // And seen running in the same place.
        ILocator read = await OperationAsync(page, "get", "/api/v1/namespaces/{namespace}/pods/{name}");
        await read.Locator(".try-out__btn").ClickAsync();
        await read.Locator("tr[data-param-name='namespace'] input").FillAsync("default");
        await read.Locator("tr[data-param-name='name'] input").FillAsync("from-swagger");
        await read.Locator(".execute").ClickAsync();
        await Assertions.Expect(read.Locator(".live-responses-table .response-col_description")).ToContainTextAsync("\"phase\": \"Running\"");
    }

    [Fact]
    public async Task Every_resource_is_there_with_its_verbs_and_schemas()
    {
        using IPlaywright playwright = await Playwright.CreateAsync();
        await using IBrowser browser = await LaunchAsync(playwright);
        IPage page = await OpenAsync(browser);
        string[] resources =
        [
            "pods", "services", "replicationcontrollers", "configmaps", "secrets", "serviceaccounts", "endpoints", "events",
        ];

        foreach (string resource in resources)
        {
            foreach (string verb in new[] { "get", "post" })
                await OperationAsync(page, verb, $"/api/v1/namespaces/{{namespace}}/{resource}");
            foreach (string verb in new[] { "get", "put", "patch", "delete" })
                await OperationAsync(page, verb, $"/api/v1/namespaces/{{namespace}}/{resource}/{{name}}");
        }

        Assert.True(await page.Locator(".models .model-container").CountAsync() > 50);
    }

    private static async Task<IBrowser> LaunchAsync(IPlaywright playwright)
    {
        string program = Browsers.FirstOrDefault(File.Exists)
            ?? throw new InvalidOperationException("No Chromium here; infra/test installs it.");
        return await playwright.Chromium.LaunchAsync(new() { ExecutablePath = program, Headless = true, Args = Flags });
    }

    private async Task<IPage> OpenAsync(IBrowser browser)
    {
        // The browser does not know the cluster's own authority, as a person's would not.
        IBrowserContext context = await browser.NewContextAsync(new() { IgnoreHTTPSErrors = true });
        IPage page = await context.NewPageAsync();
        await page.GotoAsync(new Uri(Cluster.Address, "swagger").ToString());
        await page.Locator(".swagger-ui .information-container").WaitForAsync();
        return page;
    }

    private async Task AuthorizeAsync(IPage page)
    {
        await page.Locator(".btn.authorize").First.ClickAsync();
        ILocator dialog = page.Locator(".dialog-ux");
        await dialog.Locator("input").First.FillAsync(Cluster.Token);
        await dialog.Locator("button.authorize").First.ClickAsync();
        await dialog.Locator("button.btn-done").First.ClickAsync();
    }

    /// <summary>The block of one operation, unfolded.</summary>
    private static async Task<ILocator> OperationAsync(IPage page, string verb, string path)
    {
        ILocator block = page.Locator($".opblock.opblock-{verb}:has([data-path='{path}'])");
        await page.EvaluateAsync("document.querySelectorAll(\".opblock-tag[data-is-open='false']\").forEach(tag => tag.click())");
        await block.WaitForAsync();
        if (!(await block.GetAttributeAsync("class") ?? "").Contains("is-open", StringComparison.Ordinal))
            await block.Locator(".opblock-summary-control").ClickAsync();
        await block.Locator(".opblock-body").WaitForAsync();
        return block;
    }
}
