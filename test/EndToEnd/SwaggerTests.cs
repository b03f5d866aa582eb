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

        ILocator create = await OperationAsync(page, "pods", "post", "/api/v1/namespaces/{namespace}/pods");
        await create.Locator(".try-out__btn").ClickAsync();
        await create.Locator("tr[data-param-name='namespace'] input").FillAsync("default");
        await create.Locator(".body-param textarea").FillAsync(Body);
        await create.Locator(".execute").ClickAsync();
        string answer = await create.Locator(".live-responses-table tbody td.response-col_status").First.InnerTextAsync();

        await Cluster.EventuallyPodsAsync("the pod runs", "-l app=from-swagger", pods => pods is [{ Serves: true }]);
        Assert.StartsWith("201", answer, StringComparison.Ordinal);

        // And seen running in the same place.
        ILocator read = await OperationAsync(page, "pods", "get", "/api/v1/namespaces/{namespace}/pods/{name}");
        await read.Locator(".try-out__btn").ClickAsync();
        await read.Locator("tr[data-param-name='namespace'] input").FillAsync("default");
        await read.Locator("tr[data-param-name='name'] input").FillAsync("from-swagger");
        await Eventually.TrueAsync("the page shows the pod running", async _ =>
        {
            await read.Locator(".execute").ClickAsync();
            ILocator shown = read.Locator(".live-responses-table tbody td.response-col_description").First;
            await shown.WaitForAsync(new() { Timeout = 5_000 });
            return (await shown.InnerTextAsync()).Contains("\"phase\": \"Running\"", StringComparison.Ordinal);
        });
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
                await SeeAsync(page, resource, verb, $"/api/v1/namespaces/{{namespace}}/{resource}");
            foreach (string verb in new[] { "get", "put", "patch", "delete" })
                await SeeAsync(page, resource, verb, $"/api/v1/namespaces/{{namespace}}/{resource}/{{name}}");
        }

        ILocator create = await OperationAsync(page, "pods", "post", "/api/v1/namespaces/{namespace}/pods");
        await create.Locator(".opblock-section-request-body [data-name='model']").First.ClickAsync();
        await Assertions.Expect(create.Locator(".opblock-section-request-body .model-box").First).ToContainTextAsync("V1PodSpec");
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
        // Chromium drops what is on its way when a network device appears, and pods of other tests bring and take devices.
        await Eventually.TrueAsync("Swagger UI is shown", async _ =>
        {
            await page.GotoAsync(new Uri(Cluster.Address, "swagger").ToString());
            await page.Locator(".swagger-ui .opblock-tag").First.WaitForAsync(new() { Timeout = 10_000 });
            return true;
        });
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

    /// <summary>The folded block of one operation.</summary>
    private static async Task<ILocator> SeeAsync(IPage page, string resource, string verb, string path)
    {
        ILocator tag = page.Locator($".opblock-tag[data-tag='v1 {resource}']");
        if (await tag.GetAttributeAsync("data-is-open") == "false")
            await tag.ClickAsync();
        ILocator block = page.Locator($".opblock.opblock-{verb}:has([data-path='{path}'])");
        await block.WaitForAsync();
        return block;
    }

    private static async Task<ILocator> OperationAsync(IPage page, string resource, string verb, string path)
    {
        ILocator block = await SeeAsync(page, resource, verb, path);
        await block.Locator(".opblock-summary-control").ClickAsync();
        await block.Locator(".opblock-body").First.WaitForAsync();
        return block;
    }
}
